"""How is it fitted? fastai's Learner, schedules and callbacks; checkpoints, timing and progress are ours."""
