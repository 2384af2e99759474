"""Files that deploy a model on a real TensorFlow Serving. Imports neither TensorFlow nor gRPC."""
