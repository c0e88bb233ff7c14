"""Whatever a program writes may be read by whom the umask lets, a colleague on the same machine."""

import os

import pytest
import torch
from small_models import write_recordings
from small_network import released_names

pytestmark = pytest.mark.timeout(900)
# One process, whose libraries are imported once.
RUN_ALL = """
import sys
from dusha_ser.cli.main import main
for command in sys.argv[1:]:
    main([*command.split(), "--quiet"])
"""
STEPS = "--max_steps 2 --save_steps 1 --save_strategy steps --keep_checkpoints --average_decay 0.9"
COMMANDS = f"""
sample archives --clips 60
corpus crowd --data_dir archives --output_dir corpus --input_features --cache_dir cache
train --train_file own/clips.csv --output_dir model --cache_dir cache --use_cpu {STEPS}
convert released.pt converted
export model float.onnx --clips own/wavs
export model int8.onnx --waveform --one_length --int8 --clips own/wavs
predict int8.onnx own/wavs --output_file predictions.csv
evaluate --models model --test_sets own/clips.csv --output_dir results
report results results --output_dir page
""".strip().splitlines()


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_files_and_folders_of_all_programs_have_the_permissions_of_the_umask(
    umask, shell, tmp_path
):
    before = os.umask(umask)
    try:
        write_recordings(tmp_path / "own", speakers=3)
        generator = torch.Generator().manual_seed(0)
        released = {
            name: torch.rand(shape, generator=generator) if shape else torch.tensor(7)
            for name, shape in released_names().items()
        }
        torch.save(released, tmp_path / "released.pt")
        shell(*COMMANDS, code=RUN_ALL, cwd=tmp_path, timeout=800)
    finally:
        os.umask(before)
    written = list(tmp_path.rglob("*"))
    assert len(written) > 60
    allowed = {True: 0o777 & ~umask, False: 0o666 & ~umask}
    wrong = {
        str(path.relative_to(tmp_path)): oct(path.stat().st_mode & 0o777)
        for path in written
        if path.stat().st_mode & 0o777 != allowed[path.is_dir()]
    }
    assert not wrong
