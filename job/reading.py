"""Reading files that may be damaged, or made to do damage: what is wrong is one sentence, and nothing in them is executed."""

import contextlib
import json

from world_models.config import UserError

REMEDY = "restore or remove it"


@contextlib.contextmanager
def reading(path, remedy=REMEDY, kind=None):
    """`with reading(path):` an error in the block becomes a UserError that names `path` and ends in `remedy`.

    kind: what the file should be, for the message.

    zipfile, zlib, lzma, NumPy, HDF5, Keras and json raise exceptions that have no common base, so all are caught.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = f"cannot be read as {kind}" if kind else "cannot be read"
        raise UserError(f"{path} {told} ({reason(error)}): {remedy}") from None


def reason(error):
    """What an exception says, in one line."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    told = f"no {told}" if isinstance(error, KeyError) else told
    return cut(" ".join(told.split()) or type(error).__name__, 120)


def cut(text, most=40):
    """`text` in at most `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def parsed(text, form=object):
    """The value of JSON `text`. Raises ValueError where it is not of this `form`, which is told as in `misfit`."""
    value = json.loads(text)
    wrong = misfit(value, form)
    if wrong:
        raise ValueError(wrong)
    return value


def misfit(value, form, name="it"):
    """What in a JSON value does not have the form; None if all has it.

    form: a type; [form], a list of them; or {name: form}, an object with at least these names. float stands for any finite
    number, int for whole ones below 2^53.
    """
    if isinstance(form, list):
        parts = ((part, form[0], f"{name}[{i}]") for i, part in enumerate(value)) if isinstance(value, list) else None
    elif isinstance(form, dict):
        parts = ((value.get(key), form[key], key) for key in form) if isinstance(value, dict) else None
    elif form is float:
        parts = () if type(value) in (int, float) and abs(value) < 1e300 else None  # NaN compares as false
    elif form is int:
        parts = () if type(value) is int and abs(value) < 2**53 else None
    else:
        parts = () if isinstance(value, form) else None
    if parts is None:
        return f"{name} is {short(value)}, not {_called(form)}"
    return next(filter(None, (misfit(*part) for part in parts)), None)


def short(value):
    """A JSON value in few characters."""
    if isinstance(value, (list, dict)):
        return {list: "a list", dict: "an object"}[type(value)]
    return cut(json.dumps(value)) if not isinstance(value, int) or abs(value) < 2**53 else "too large a number"


def _called(form):
    names = {list: "a list", dict: "an object", float: "a finite number", int: "a whole number", bool: "true or false"}
    return names.get(type(form) if isinstance(form, (list, dict)) else form, "text")
