"""Which pixels, which labels, which patients on which side?"""
