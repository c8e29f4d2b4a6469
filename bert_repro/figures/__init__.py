"""Figures: curves, dots and grids with intervals, drawn by plotly from tidy tables in one style.

An empty table, and rows that would put two values at the same place, are errors.
"""

from bert_repro.figures.curves import difference_curves as difference_curves
from bert_repro.figures.curves import layer_curves as layer_curves
from bert_repro.figures.curves import learning_curves as learning_curves
from bert_repro.figures.curves import line_curves as line_curves
from bert_repro.figures.curves import task_curves as task_curves
from bert_repro.figures.dots import dots as dots
from bert_repro.figures.gallery import Gallery as Gallery
from bert_repro.figures.grids import layer_grid as layer_grid
from bert_repro.figures.history import history as history
from bert_repro.figures.scatter import against as against
from bert_repro.figures.theme import colour as colour
from bert_repro.figures.theme import label as label
from bert_repro.figures.theme import short as short
from bert_repro.figures.trees import tree_arcs as tree_arcs
from bert_repro.figures.trees import tree_plane as tree_plane
from bert_repro.figures.words import words_through_layers as words_through_layers
