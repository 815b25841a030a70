"""Symplectic networks (Jin et al., Neural Networks 132, 2020): learned flow maps that are exactly symplectic.

On your own pairs z(t), z(t + h), float64 tensors (N, 2d) with z = (q, p)::

    net = SympNet(SympNetConfig(dimension=d)).double()
    train_ensemble([FixedStep(net, h)], (z, after), EnsembleTraining(steps=2000))
    levenberg_marquardt(FixedStep(net, h), (z, after), steps=40)      # the last digits
    states = rollout(lambda x: net(x, h), z[0], 1000)
    symplecticity_defect(lambda x: net(x, h), z)                      # at rounding level, whatever was learned

``SympNet`` is in ``sympnet.modules``, ``FixedStep`` in ``sympnet.study``, ``rollout`` and the defect in
``sympnet.diagnostics``, the training in ``dynamics.ensembles``.
"""
