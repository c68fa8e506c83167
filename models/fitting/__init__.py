"""Analysis by synthesis: the parameters of a face that explain a photo, by Gauss-Newton steps.

    coefficients --reconstruct--> rendering --compare with the photo--> energy, by terms
         ^                                                                |
         +------ retract <-- step <-- damped normal equations <-- linearise

Face model, camera, renderer and losses are those of the trainer.

    energy.py        what is minimised: terms, weights, and their value for some coefficients
    derivatives.py   how vertices, normals and landmarks change with the coefficients
    photometric.py   residuals of pixels and their rows of the Jacobian
    priors.py        terms that are quadratic in the coefficients
    gauss_newton.py  damped steps with rejection, for a batch of faces at once
    stages.py        pose, then landmarks, then all from the photo, coarse to fine
"""
