"""The forms that an export can take, a module each; ``registry`` knows them all."""
