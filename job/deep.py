"""Keras as this project needs it, whatever KERAS_BACKEND or the user's keras.json ask for: import it from here."""

import sys

import keras

import world_models
from world_models.config import UserError

if keras.backend.backend() != "tensorflow":
    raise UserError(
        f"Keras was loaded with the backend {keras.backend.backend()}: set KERAS_BACKEND=tensorflow, or import this first"
    )
_found = world_models.asked_backend, keras.config.floatx(), keras.config.image_data_format()
if _found != ("tensorflow", "float32", "channels_last"):
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    what = "the backend tensorflow, float32 and channels_last"
    print(f"Keras is set to {', '.join(_found)}; this project uses {what}", file=sys.stderr)
