// Runs in the page, for the element with a timeline: a click plays from there, and a line shows
// where the player is. PLAYER selects the element that holds the player.
const player = () => document.querySelector(`${PLAYER} audio`);

element.addEventListener("click", (event) => {
  const audio = player();
  const start = event.target.closest("[data-start]");
  const strip = event.target.closest(".strip");
  if (!audio || !(start || strip)) return;
  if (start) {
    audio.currentTime = Number(start.dataset.start);
  } else {
    const { left, width } = strip.getBoundingClientRect();
    audio.currentTime = ((event.clientX - left) / width) * Number(strip.dataset.duration);
  }
  // A format that the browser does not know is predicted, and cannot be played.
  audio.play().catch(() => {});
});

// Events of players do not bubble, and each recording gets a new player.
document.addEventListener("timeupdate", (event) => {
  const line = element.querySelector(".playhead");
  if (!line || event.target !== player()) return;
  const place = event.target.currentTime / Number(line.parentElement.dataset.duration);
  line.style.left = `${100 * Math.min(1, place)}%`;
  line.hidden = false;
}, true);
