// Runs when the page is there. Gradio refuses what a browser does not call audio, videos and files
// of other names among them; here the server says what it cannot read.
const isForUs = (target) => target instanceof Element && target.closest("#recording");

function pass(input, files) {
  const passed = new DataTransfer();
  for (const file of files) {
    const isAudio = file.type.startsWith("audio/");
    passed.items.add(isAudio ? file : new File([file], file.name, { type: "audio/x-unknown" }));
  }
  input.files = passed.files;
}

document.addEventListener("click", () => {
  document.querySelector("#recording input[type=file]")?.removeAttribute("accept");
}, true);

document.addEventListener("change", (event) => {
  if (event.target.type === "file" && isForUs(event.target)) pass(event.target, event.target.files);
}, true);

document.addEventListener("drop", (event) => {
  const input = document.querySelector("#recording input[type=file]");
  if (!input || !isForUs(event.target) || !event.dataTransfer.files.length) return;
  event.preventDefault();
  event.stopPropagation();
  pass(input, event.dataTransfer.files);
  input.dispatchEvent(new Event("change", { bubbles: true }));
}, true);
