"""Which pixels, which labels, which patients in which set?"""
