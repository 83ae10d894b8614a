"""Events, segments and policies: values and pure decisions, without any I/O."""
