"""Systems to compare with, behind one interface: random, retrieval, the codec's oracle, other models, files."""
