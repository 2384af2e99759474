"""TensorFlow session options of the embedded server, which the exporter's check shares."""

from __future__ import annotations

import tensorflow as tf


def session_config() -> tf.compat.v1.ConfigProto:
    """Configuration of a session that starts a model fast: no graph rewriting, and functions inlined first."""
    config = tf.compat.v1.ConfigProto()
    # Rewriting adds ten seconds or more to a start and no measurable speed: nearly all time goes into convolutions.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    # Without inlining, TensorFlow prepares each function again for each level of calls above it: half of the warm-up.
    config.graph_options.optimizer_options.do_function_inlining = True
    return config
