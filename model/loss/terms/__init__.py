"""Terms of the losses. `objective` joins them to the network, weights them and adds them up."""

from .content import ContentTerm
from .reference import ReferenceTerm
from .style import StyleTerm
from .total_variation import SquaredVariationTerm, TotalVariationTerm

__all__ = ["ContentTerm", "ReferenceTerm", "SquaredVariationTerm", "StyleTerm", "TotalVariationTerm"]
