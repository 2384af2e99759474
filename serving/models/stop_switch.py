"""Ops that let another thread stop a running step: a session has a time-out, and no call to cancel.

Each step waits, beside its real work, for as many tokens as it has outputs: every output that is ready puts True into
a queue of the step's own. To stop the step, put False in: the check of the tokens fails, and TensorFlow then aborts
everything else in the step, loops included, within milliseconds. Waiting on a queue holds no thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

DEVICE_COUNT = {"CPU": 2}
"""For the session's configuration. The second "CPU" is a name for a second executor, not a second processor.

When the model fails, the waiting ops are cancelled. On the model's own executor that cancellation can be taken for the
first error and hide the true one; between executors TensorFlow tells cause and consequence apart.
"""

_DEVICE = "/device:CPU:1"


class StopSwitch:
    """Adds the ops to the current graph; `outputs` are all tensors that may be fetched.

    Args:
        outputs: names of the tensors.
        slots: how many steps may run at once. One slot is used by one step at a time.
    """

    def __init__(self, outputs: Iterable[str], slots: int) -> None:
        graph = tf.compat.v1.get_default_graph()
        with tf.name_scope("stop_switch"), tf.device(_DEVICE):
            self._slot = tf.compat.v1.placeholder(tf.int32, [], name="slot")
            self._count = tf.compat.v1.placeholder(tf.int32, [], name="count")
            queues = [tf.raw_ops.FIFOQueueV2(component_types=[tf.bool], shapes=[[]]) for _ in range(slots)]
            # One set of ops for all slots, the queue chosen at run time: a session prepares (prunes, places, optimises)
            # its graph once for each set of fetches, which takes too long to do it for every slot.
            queue = tf.gather(tf.stack(queues), self._slot)
            tokens = tf.raw_ops.QueueDequeueManyV2(handle=queue, n=self._count, component_types=[tf.bool])[0]
            self._guard = tf.raw_ops.Assert(condition=tf.reduce_all(tokens), data=["stopped"])
            self._stop = tf.raw_ops.QueueEnqueueManyV2(handle=queue, components=[tf.fill([self._count], False)])
            size = tf.raw_ops.QueueSizeV2(handle=queue)
            self._drain = tf.raw_ops.QueueDequeueManyV2(handle=queue, n=size, component_types=[tf.bool])[0]
            self._done: dict[str, Any] = {}
            for name in sorted(set(outputs)):
                with tf.device(None):
                    # It has to need the tensor's data: an inlined function call lets a control dependency pass at once.
                    ready = tf.raw_ops.Size(input=graph.get_tensor_by_name(name)) >= 0
                self._done[name] = tf.raw_ops.QueueEnqueueV2(handle=queue, components=[ready])

    def fetches(self, outputs: Iterable[str]) -> list[Any]:
        """What a step fetches beside these outputs so that it can be stopped."""
        return [self._guard, *(self._done[name] for name in sorted(set(outputs)))]

    def feeds(self, outputs: Iterable[str], slot: int) -> dict[Any, int]:
        """What such a step is fed."""
        return {self._slot: slot, self._count: len(set(outputs))}

    def stop(self, session: tf.compat.v1.Session, outputs: Iterable[str], slot: int) -> None:
        """Makes the slot's step fail soon. If none is running, its next one fails."""
        session.run(self._stop, self.feeds(outputs, slot))

    def reset(self, session: tf.compat.v1.Session, slot: int) -> None:
        """Takes left-over tokens away, once the slot's step has ended and nobody can stop it any more."""
        session.run(self._drain, {self._slot: slot})
