"""placeholder"""
from transformers import GenerationMixin
class AccompGenGenerationMixin(GenerationMixin):
    pass
