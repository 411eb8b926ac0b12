"""The loss of each row of a batch."""

import tensorflow as tf


def ctc(labels: tf.Tensor, lengths: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """(N,) float32 CTC losses (Graves 2006) of logits (N, T, classes) whose last class is the blank.

    `labels` (N, L) int32 may be padded with anything; `lengths` (N,) int32 counts what is real. A padding row
    (length 0) gets the loss of an arbitrary label; its weight is 0.
    """
    frames = tf.fill(tf.shape(lengths), tf.shape(logits)[1])
    real = tf.sequence_mask(tf.maximum(lengths, 1), tf.shape(labels)[1])
    where = tf.where(real)
    # TensorFlow's kernel for sparse labels; the one for dense labels is a scan in the graph, far slower on CPUs
    values = tf.maximum(tf.gather_nd(labels, where), 0)
    sparse = tf.SparseTensor(where, values, tf.shape(labels, out_type=tf.int64))
    return tf.nn.ctc_loss(sparse, logits, None, frames, logits_time_major=False, blank_index=logits.shape[2] - 1)


def positions(labels: tf.Tensor, lengths: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """(N,) float32 sums over the positions of the cross-entropy of logits (N, P, classes); the last class fills short labels.

    `labels` (N, L) int32 may be padded with anything, L may be under or over P. A padding row (length 0) gets the loss of
    no character at all; its weight is 0.
    """
    count, blank = logits.shape[1], logits.shape[2] - 1
    filled = tf.pad(labels, [[0, 0], [0, count]])[:, :count]
    targets = tf.where(tf.sequence_mask(lengths, count), filled, blank)
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits), axis=1)
