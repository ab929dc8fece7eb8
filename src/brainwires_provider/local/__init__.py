"""Models on this machine: the engine that runs them, their files, their settings, the memory they need."""
