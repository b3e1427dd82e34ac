"""Extensions of the joint sample: more sites, made of what guide and model did in one draw."""
