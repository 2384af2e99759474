"""Ops by which another thread stops a running step: a session has a timeout, but no cancellation.

Beside its real work each step waits for as many tokens as it has outputs: every finished output puts True into a queue
of the step's slot. To stop the step, put False in: the check of the tokens fails, and TensorFlow then aborts everything
else in the step, loops included, within milliseconds. Waiting on a queue holds no thread.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from queue import LifoQueue
from typing import Any

import tensorflow as tf

DEVICE_COUNT = {"CPU": 2}
"""Device count of the session's configuration. The second "CPU" is a second executor, not a second processor.

When the model fails, the waiting ops are cancelled. On the model's own executor that cancellation can be taken for the
first error and hide the true one; between executors TensorFlow distinguishes cause and consequence.
"""

_DEVICE = "/device:CPU:1"


class StopSwitch:
    """Ops that stop steps, added to the current graph.

    Args:
        outputs: Names of all tensors that may be fetched.
        slots: Most steps that run at a time; each has a slot of its own.
    """

    def __init__(self, outputs: Iterable[str], slots: int) -> None:
        self._free: LifoQueue[int] = LifoQueue()
        for slot in range(slots):
            self._free.put(slot)
        graph = tf.compat.v1.get_default_graph()
        with tf.name_scope("stop_switch"), tf.device(_DEVICE):
            self._slot = tf.compat.v1.placeholder(tf.int32, [], name="slot")
            self._count = tf.compat.v1.placeholder(tf.int32, [], name="count")
            queues = [tf.raw_ops.FIFOQueueV2(component_types=[tf.bool], shapes=[[]]) for _ in range(slots)]
            # One set of ops with a queue chosen at run time: a session prepares (prunes, places, optimises) its graph
            # once for each set of fetches, which takes too long to do for every slot.
            queue = tf.gather(tf.stack(queues), self._slot)
            tokens = tf.raw_ops.QueueDequeueManyV2(handle=queue, n=self._count, component_types=[tf.bool])[0]
            self._guard = tf.raw_ops.Assert(condition=tf.reduce_all(tokens), data=["stopped"])
            self._stop = tf.raw_ops.QueueEnqueueManyV2(handle=queue, components=[tf.fill([self._count], False)])
            size = tf.raw_ops.QueueSizeV2(handle=queue)
            self._drain = tf.raw_ops.QueueDequeueManyV2(handle=queue, n=size, component_types=[tf.bool])[0]
            self._done: dict[str, Any] = {}
            for name in sorted(set(outputs)):
                with tf.device(None):
                    # Depends on the tensor's data: an inlined function call fulfils a control dependency at once.
                    ready = tf.raw_ops.Size(input=graph.get_tensor_by_name(name)) >= 0
                self._done[name] = tf.raw_ops.QueueEnqueueV2(handle=queue, components=[ready])

    @contextmanager
    def slot(self) -> Generator[int]:
        """Context of one step with a slot of its own; waits for a free one."""
        slot = self._free.get()
        try:
            yield slot
        finally:
            self._free.put(slot)

    def fetches(self, outputs: Iterable[str]) -> list[Any]:
        """Fetches that make a step of these outputs stoppable."""
        return [self._guard, *(self._done[name] for name in sorted(set(outputs)))]

    def feeds(self, outputs: Iterable[str], slot: int) -> dict[Any, int]:
        """Feeds of such a step."""
        return {self._slot: slot, self._count: len(set(outputs))}

    def stop(self, session: tf.compat.v1.Session, outputs: Iterable[str], slot: int) -> None:
        """Makes the step of the slot fail soon. If none is running, its next one fails."""
        session.run(self._stop, self.feeds(outputs, slot))

    def reset(self, session: tf.compat.v1.Session, slot: int) -> None:
        """Removes tokens of a step that has ended and can no longer be stopped."""
        session.run(self._drain, {self._slot: slot})
