"""Symplectic networks (Jin et al., Neural Networks 132, 2020): learned flow maps that are exactly symplectic.

On your own pairs z(t), z(t + h), float64 tensors (N, 2d) with z = (q, p)::

    net = SympNet(SympNetConfig(dimension=d)).double()
    fit([FixedStep(net, h)], (z, after), FitConfig(steps=2000))       # pnpkit.dynamics.fitting, pnpkit.sympnet.study
    levenberg_marquardt(FixedStep(net, h), (z, after), steps=40)      # the last digits
    states = rollout(lambda x: net(x, h), z[0], 1000)                 # pnpkit.sympnet.diagnostics
    symplecticity_defect(lambda x: net(x, h), z)                      # at rounding level, whatever was learned
"""
