"""The parts of the loss, a file each. A new loss is a new file here, and a line in `objective`.

What a part needs of the network, and how parts are weighted and added, is in `objective`.
"""

from .content import ContentTerm
from .reference import ReferenceTerm
from .style import StyleTerm
from .total_variation import SquaredVariationTerm, TotalVariationTerm

__all__ = ["ContentTerm", "ReferenceTerm", "SquaredVariationTerm", "StyleTerm", "TotalVariationTerm"]
