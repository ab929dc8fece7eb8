"""Names of `base.decoder` for the protocols that still import them from here; to be removed."""

from brainwires_provider.protocols.base.decoder import Assembler, PartBuilder, well_formed

__all__ = ["Assembler", "OpenPart", "well_formed"]

OpenPart = PartBuilder
