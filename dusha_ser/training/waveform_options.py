"""Options of copies of training clips with other waveforms; nothing heavy is imported."""

from dataclasses import dataclass

from dusha_ser.errors import WrongUseError
from dusha_ser.options import option, split_list

NOISE, PHONE, PODCAST = "noise", "phone", "podcast"
CONDITIONS = (NOISE, PHONE, PODCAST)
# Of copies, beside that of their clips; each as likely.
SPEEDS = (0.9, 1.0, 1.1)


@dataclass(kw_only=True)
class WaveformOptions:
    """How many copies of each training clip there are, and what they go through."""

    waveform_copies: int = option(
        "copies of each training clip with noise of 5 to 30 dB below it, at 0.9, 1 or 1.1 times "
        "its speed, as drawn; an epoch is as many times longer",
        0,
        least=0,
        below=17,
        rare=True,
    )
    waveform_augmentation: tuple[str, ...] = option(
        "what each copy goes through, one of these as drawn: noise (nothing more), phone (its "
        "band, level and codec) and podcast (a room and MP3)",
        (NOISE,),
        type=split_list,
        metavar="NAME",
        rare=True,
    )

    def check_waveforms(self) -> None:
        """Raise a WrongUseError where what copies go through is unknown, or there are none."""
        names = tuple(self.waveform_augmentation)
        unknown = [name for name in names if name not in CONDITIONS]
        if unknown or not names or len(set(names)) < len(names):
            raise WrongUseError(
                f"`waveform_augmentation` is {', '.join(names) or 'empty'}: take "
                f"{', '.join(CONDITIONS)} or some of these, each once"
            )
        if names != (NOISE,) and not self.waveform_copies:
            raise WrongUseError(
                f"`waveform_augmentation` is {', '.join(names)}, and there are no copies that go "
                "through it: take `waveform_copies=1` or more"
            )
