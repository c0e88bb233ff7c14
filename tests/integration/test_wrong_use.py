"""Too little input, asked of the programs from the shell: one line, exit status 2, no traceback."""

import io
import re
import shutil
import tarfile

import pytest


@pytest.fixture(scope="module")
def archives(repository, shell, tmp_path_factory):
    """A small synthetic corpus as the four archives."""
    folder = tmp_path_factory.mktemp("sample") / "archives"
    shell("-m", "dusha_ser", "sample", folder, "--clips", 64, "--quiet", cwd=folder.parent)
    return folder


@pytest.fixture
def refusal(repository, shell, tmp_path):
    """Run a program that must refuse its input; return the one line that it says."""

    def run(program: str, *arguments: object) -> str:
        # The two scripts at the root are commands as well.
        script = f"{program}.py"
        start = [repository / script] if program in ("dusha", "train") else ["-m", "dusha_ser"]
        words = [] if program in ("dusha", "train") else [program]
        process = shell(*start, *words, *arguments, cwd=tmp_path, status=2)
        *before, line = process.stderr.strip().splitlines()
        # argparse writes its usage, indented where it goes on, before the one line.
        assert all(text.startswith(("usage: ", " ")) for text in before), process.stderr
        assert line.startswith(f"dusha {'corpus' if program == 'dusha' else program}: ")
        assert "Traceback" not in process.stderr + process.stdout
        return line

    return run


def test_corpus_when_the_folder_is_not_there(refusal, tmp_path):
    line = refusal("dusha", "--data_dir", "nowhere")
    assert "nowhere" in line
    assert not (tmp_path / "dusha").exists()


def test_corpus_when_an_archive_is_missing(refusal, archives, tmp_path):
    shutil.copytree(archives, tmp_path / "archives")
    (tmp_path / "archives" / "podcast.tar").unlink()
    line = refusal("corpus", "all", "--data_dir", "archives")
    assert "podcast" in line
    assert "archives" in line


def test_corpus_when_a_split_is_empty(refusal, archives, tmp_path):
    (tmp_path / "archives").mkdir()
    for path in archives.glob("*.t*"):
        (tmp_path / "archives" / path.name).symlink_to(path)
    (tmp_path / "archives" / "podcast.tar").unlink()
    with (
        tarfile.open(archives / "podcast.tar") as source,
        tarfile.open(tmp_path / "archives" / "podcast.tar", "w") as target,
    ):
        for member in source:
            content = source.extractfile(member).read()
            if "test" in member.name:
                # All clips turn out to have no usable voice, and none is left.
                content = re.sub(rb'"annotator_emo": "\w+"', b'"annotator_emo": "other"', content)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    line = refusal("corpus", "podcast", "--data_dir", "archives")
    assert "test" in line
    assert not list(tmp_path.glob("dusha/**/*.parquet"))


def test_corpus_when_the_configuration_is_unknown(refusal, archives):
    line = refusal("dusha", "crowds", "--data_dir", archives)
    assert "'crowds'" in line
    assert "crowd," in line


def test_corpus_when_the_address_has_no_archives(refusal, file_server):
    line = refusal("corpus", "--base_url", file_server.url, "--cache_dir", "cache")
    assert "404" in line
    assert "--data_dir" in line


def test_sample_when_there_are_too_few_clips(refusal):
    assert "at least" in refusal("sample", "sample", "--clips", 3)


def test_training_when_the_setup_is_unknown(refusal):
    line = refusal("train", "crowd_huge.yaml")
    assert "crowd_huge" in line
    assert "crowd_large" in line


def test_training_when_the_dataset_is_not_there(refusal):
    assert "nowhere" in refusal("train", "--dataset", "nowhere")


@pytest.mark.parametrize("program", ["dusha", "corpus", "sample", "train"])
def test_program_when_an_option_is_unknown(refusal, program):
    assert "--unheard_of" in refusal(program, "--unheard_of", "1")
