"""From a checkpoint to an encoder that others can load: strip the decoder, check by value, describe."""
