"""Analysis by synthesis: the parameters of a face that explain a photo, by Gauss-Newton steps.

    coefficients --look--> landmarks, pixels --compare--> energy, by terms
         ^                                                     |
         +---- retract <-- step <-- damped normal equations <--+

Face model, camera, renderer and losses are those of the trainer.

    fitter.py           the stages: pose, landmarks, photo coarse to fine; presets
    gauss_newton.py     damped steps with rejection, for a batch of faces at once
    adam.py             the public fitter's schedule on the same energy, to compare with
    tracking.py         a known face from frame to frame, and its motion smoothed
    problem.py          the energy as a sum of terms
    energy.py           which terms there are, and their weights
    landmark_term.py, photometric.py, priors.py     the terms
    focal.py            the focal length, where it is looked for too
    derivatives.py, pixel_rows.py                   tables and rows of their Jacobians
    linear_solver.py    a step of each face alone, or of faces that share a part
"""
