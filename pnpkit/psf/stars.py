"""The point-spread function of a telescope, measured from stars in a picture by photutils."""

from __future__ import annotations

import warnings

import numpy as np

from pnpkit.errors import InputError
from pnpkit.psf.spread import Spread, cleaned

SIGMAS = 20.0  # least height of a star above the sky, in standard deviations of the sky
MOST_STARS = 200
FAINTEST = 0.02  # least brightness of a star, relative to the brightest star that is used
OVERSAMPLED, ENOUGH = 2, 16  # factor of the finer grid, and the number of stars that is enough to fill it
UNLIKE = 0.3  # relative difference of a width, across or down, from the usual one, from which on a star is rejected
WIDER = 0.15  # the same limit for the width of a Gaussian that is fitted to the whole star
BETAS = (1.2, 2.5, 20.0)  # exponents in the fit of a Moffat profile: the least, the initial and the largest one
MISFIT = 0.01  # error of a star's profile as a share of a reading, in addition to the noise of the sky


def stars(
    picture: np.ndarray, size: int | None = None, ceiling: float | None = None, fwhm: float | None = None
) -> Spread:
    """Measure the point-spread function from isolated stars.

    The sky is subtracted, as a coarse map of medians. Stars are found by DAOFIND. Stars that saturate, have neighbours,
    lie at the sides or are wider than most (galaxies) are left out. With ``ENOUGH`` stars or more, photutils builds the
    effective function of Anderson & King (2000) on a grid twice as fine. Its samples at the middles of the pixels are
    the result. Fewer stars do not fill a grid, which would widen the function. Then one elliptical Moffat profile is
    fitted to all of them (Moffat 1969), with a place, a height and a sky for each star.

    Args:
        picture: (H, W); NaN is unknown.
        size: pixels across, odd; None uses eight widths of a star.
        ceiling: value from which on a pixel is saturated. None uses 98 % of the largest value if several pixels have
            that value.
        fwhm: a first guess, in pixels; None estimates it.

    Raises:
        InputError: there are fewer than 3 stars, or photutils is not installed.
    """
    try:
        from astropy.nddata import NDData
        from astropy.table import Table
        from photutils.psf import EPSFBuilder, extract_stars
    except ImportError:
        raise InputError("stars need the extra 'psf' (photutils): pip install 'pnpkit[psf]'") from None
    data = np.asarray(picture, dtype=np.float64)
    if data.ndim != 2:
        raise InputError(f"expected a grey picture (H, W), got {data.shape}")
    if not np.isfinite(data).any():
        raise InputError("expected a picture with stars, got one in which every pixel is NaN or infinite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, sky, noise = without_sky(data)
        width = first_width(data, noise) if fwhm is None else fwhm
        found = find(data, noise, width)
        across = (size or int(np.ceil(8 * width))) | 1
        alone = usable(found, data, across, width, ceiling_of(picture, ceiling, sky))
        kept = alike(alone, data)
        if len(kept) < 3:
            raise InputError(
                f"expected 3 stars that stand alone, unsaturated and alike, got {len(kept)} of {len(found)}: "
                "give a smaller `size`"
            )
        if len(kept) < ENOUGH:
            values, told = profile(kept, data, across, width, noise)
        else:
            catalog = Table({"x": [s[0] for s in kept], "y": [s[1] for s in kept]})
            cut = extract_stars(NDData(data), catalog, size=across + 2)
            builder = EPSFBuilder(oversampling=OVERSAMPLED, maxiters=8, progress_bar=False, recentering_boxsize=5)
            fine, _ = builder(cut)
            values = at_pixels(np.asarray(fine.data), across, OVERSAMPLED)
            told = "effective point-spread function (photutils) of"
    values, notes = cleaned(values, "peak")
    told += f" {len(kept)} stars of {len(found)} found"
    return Spread(values, (1.0, 1.0), "px", (told, *notes))


def without_sky(data: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the picture without its sky and with 0 for NaN, the median level of the sky, and its noise."""
    from photutils.background import Background2D, MedianBackground

    bad = ~np.isfinite(data)
    side = max(8, min(64, min(data.shape) // 4))
    sky = Background2D(data, side, filter_size=3, bkg_estimator=MedianBackground(), mask=bad, exclude_percentile=50)
    rest = np.where(bad, 0.0, data - sky.background)
    return rest, float(np.median(sky.background)), float(sky.background_rms_median)


def first_width(data: np.ndarray, noise: float) -> float:
    """Return the median width of the brighter stars, from Gaussians that photutils fits."""
    from photutils.psf import fit_fwhm

    found = find(data, noise, 3.0)[:30]
    if not len(found):
        raise InputError(f"no star rises {SIGMAS:g} times the noise above the sky")
    inside = [s for s in found if all(6 <= c < n - 6 for c, n in zip(s[:2], data.shape[::-1], strict=True))]
    widths = np.asarray(fit_fwhm(data, xypos=[s[:2] for s in inside or found], fit_shape=(9, 9)))
    widths = widths[np.isfinite(widths) & (widths > 0.8) & (widths < 15)]
    return float(np.median(widths)) if len(widths) else 3.0


def find(data: np.ndarray, noise: float, width: float) -> list[tuple[float, float, float]]:
    """Find stars and return them as (x, y, peak), brightest first."""
    from photutils.detection import DAOStarFinder

    table = DAOStarFinder(threshold=SIGMAS * noise, fwhm=width)(data)
    if table is None:
        return []
    x, y = (table[name] for name in _columns(table.colnames))
    return sorted(zip(map(float, x), map(float, y), map(float, table["peak"]), strict=True), key=lambda s: -s[2])


def _columns(names: list[str]) -> tuple[str, str]:
    """Return the names of the columns of the centroids, which differ between versions of photutils."""
    return ("x_centroid", "y_centroid") if "x_centroid" in names else ("xcentroid", "ycentroid")


def ceiling_of(picture: np.ndarray, ceiling: float | None, sky: float) -> float:
    """Return the value above the sky of a saturated pixel; inf if nothing saturates."""
    if ceiling is not None:
        return ceiling - sky
    known = np.asarray(picture)[np.isfinite(picture)]
    top = float(known.max())
    return 0.98 * top - sky if (known >= 0.999 * top).sum() >= 3 else float("inf")


def usable(
    found: list[tuple[float, float, float]], data: np.ndarray, across: int, width: float, ceiling: float
) -> list[tuple[float, float, float]]:
    """Return the isolated stars: no neighbour above 5 % of their peak within half of ``across`` plus a width."""
    half, rows, columns = across // 2 + 2, *data.shape
    kept: list[tuple[float, float, float]] = []
    for x, y, peak in found:
        inside = half <= x < columns - half and half <= y < rows - half
        near = [o for o in found if 0 < (o[0] - x) ** 2 + (o[1] - y) ** 2 < (across / 2 + width) ** 2]
        box = data[int(y) - 1 : int(y) + 3, int(x) - 1 : int(x) + 3]
        faint = bool(kept) and peak < FAINTEST * kept[0][2]
        if inside and not faint and box.max(initial=0) < ceiling and all(o[2] < 0.05 * peak for o in near):
            kept.append((x, y, peak))
    return kept[:MOST_STARS]


def alike(stars: list[tuple[float, float, float]], data: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the stars of the usual width. A galaxy is wider than a star; a star that bleeds is longer than wide.

    Widths are measured on lines through the peak, across and down, and on a Gaussian that photutils fits. The usual
    width is the median of the narrower half.
    """
    from photutils.psf import fit_fwhm

    from pnpkit.psf.spread import fwhm

    if len(stars) < 3:
        return stars
    cuts = [data[int(round(y)) - 5 : int(round(y)) + 6, int(round(x)) - 5 : int(round(x)) + 6] for x, y, _ in stars]
    fits = np.asarray(fit_fwhm(data, xypos=[star[:2] for star in stars], fit_shape=(9, 9))).reshape(-1, 1)
    lines = np.array([fwhm(cut) for cut in cuts])

    def near(widths: np.ndarray, most: float) -> np.ndarray:
        means = np.nan_to_num(widths, nan=np.inf).prod(axis=1)
        usual = np.median(widths[means <= np.median(means)], axis=0)
        return (np.abs(widths / usual - 1) <= most).all(axis=1)

    kept = near(lines, UNLIKE) & near(fits, WIDER)
    return [star for star, same in zip(stars, kept, strict=True) if same]


def profile(
    stars: list[tuple[float, float, float]], data: np.ndarray, across: int, width: float, noise: float
) -> tuple[np.ndarray, str]:
    """Fit an elliptical Moffat profile to the stars.

    m(p) = (1 + (2^(1/beta) - 1) 4 |L^T p|^2)^-beta at the middle of each pixel. The singular values of L are one over
    the full widths at half the maximum. The fit is by least squares, weighted by the noise and a share ``MISFIT`` of
    each reading.

    Returns:
        The profile, (across, across), and the beginning of a sentence that describes it.
    """
    from scipy.optimize import least_squares

    half = min(across // 2, int(np.ceil(3 * width)))
    cuts = []
    for x, y, _ in stars:
        row, column = int(round(y)), int(round(x))
        rows, columns = np.mgrid[row - half : row + half + 1, column - half : column + half + 1]
        inside = (rows >= 0) & (rows < data.shape[0]) & (columns >= 0) & (columns < data.shape[1])
        rows, columns = rows[inside], columns[inside]
        cuts.append((rows - y, columns - x, data[rows, columns]))

    def shape(shared: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        down, slant, along, beta = shared
        square = (down * rows + slant * columns) ** 2 + (along * columns) ** 2
        return np.asarray((1 + (2 ** (1 / beta) - 1) * 4 * square) ** -beta)

    def misfit(v: np.ndarray) -> np.ndarray:
        parts = []
        for (rows, columns, values), (row, column, height, sky) in zip(cuts, v[4:].reshape(-1, 4), strict=True):
            model = values.max() * height * shape(v[:4], rows - row, columns - column) + noise * sky
            parts.append((model - values) / np.hypot(noise, MISFIT * values))
        return np.concatenate(parts)

    least, first, largest = BETAS
    start = np.r_[1 / width, 0.0, 1 / width, first, np.tile([0.0, 0.0, 1.0, 0.0], len(stars))]
    low, high = np.full(len(start), -np.inf), np.full(len(start), np.inf)
    low[[0, 2, 3]], high[3] = (1e-3, 1e-3, least), largest
    found = least_squares(misfit, start, bounds=(low, high), loss="soft_l1").x[:4]
    place = np.arange(across) - across // 2.0
    values = shape(found, place[:, None], place[None, :])
    widths = 1 / np.linalg.svd([[found[0], 0], [found[1], found[2]]], compute_uv=False)
    told = f"elliptical Moffat profile, FWHM {widths[1]:.3g} and {widths[0]:.3g} px, beta {found[3]:.3g}"
    return values, f"{told}, fitted to"


def at_pixels(fine: np.ndarray, across: int, times: int) -> np.ndarray:
    """Return the ``across`` x ``across`` samples of the fine grid that lie at the middles of the pixels."""
    middle, half = [n // 2 for n in fine.shape], across // 2
    rows, columns = (m + times * np.arange(-min(half, m // times), min(half, m // times) + 1) for m in middle)
    rows, columns = rows[rows < fine.shape[0]], columns[columns < fine.shape[1]]
    return fine[np.ix_(rows, columns)]
