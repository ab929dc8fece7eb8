"""The files of models on this machine: what they hold, where they are, how they get here, how they are to be run."""
