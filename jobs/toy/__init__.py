"""A pool of drawings with planted defects, and a tiny CLIP that was trained on such drawings.

They are for the demo and the tests. The drawings are no training data, and the model is backdoored on
purpose.
"""
