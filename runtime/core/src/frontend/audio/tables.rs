//! Constants of the audio frontend: literals where the formula is not of integers; the tests compare them with it.

use super::WINDOW;
use super::fft::pack;

/// Bins below are left out, the mean and 31 to 125 Hz.
pub(super) const FIRST_BIN: usize = 5;

/// How many bins lie in each of the 41 stretches of equal length in mel from 125 to 7500 Hz.
#[rustfmt::skip]
pub(super) const WIDTHS: [u8; 41] = [
    1, 2, 1, 2, 2, 2, 2, 2, 3, 2, 3, 3, 3, 3, 3, 4, 4, 3, 5, 4, 5, 5, 5, 5, 6, 6, 7, 7, 7, 8, 8, 9, 9, 9, 11, 10, 12,
    12, 13, 13, 15,
];

/// Of each bin from [`FIRST_BIN`] on: its share in the triangle of the channel whose peak is below it, of 2¹²; the rest belongs to the next
/// channel. `(end - m(31.25 bin)) / (end - start)` for the mel scale `m(f) = ln(1 + f / 700)`. The reference's own single precision shows in
/// bins 149 and 221.
#[rustfmt::skip]
pub(super) const WEIGHTS: [u16; 236] = [
    1377, 2852, 321, 1971, 3701, 1408, 3281, 1124, 3124, 1087, 3201, 1272, 3488, 1655, 3963, 2218, 513, 2943, 1314,
    3817, 2258, 731, 3332, 1866, 430, 3117, 1734, 377, 3141, 1833, 548, 3381, 2139, 918, 3814, 2632, 1470, 325, 3294,
    2185, 1092, 15, 3049, 2003, 972, 4051, 3048, 2058, 1082, 118, 3263, 2324, 1398, 482, 3674, 2782, 1899, 1028, 167,
    3411, 2570, 1738, 915, 102, 3393, 2598, 1810, 1032, 261, 3594, 2840, 2093, 1353, 621, 3993, 3275, 2564, 1861, 1163,
    473, 3885, 3207, 2536, 1870, 1211, 557, 4006, 3364, 2727, 2096, 1471, 850, 235, 3721, 3117, 2517, 1922, 1331, 746,
    165, 3685, 3113, 2546, 1983, 1424, 870, 320, 3869, 3327, 2789, 2255, 1725, 1198, 676, 157, 3737, 3226, 2717, 2213,
    1711, 1214, 719, 228, 3836, 3352, 2870, 2392, 1917, 1445, 976, 510, 46, 3682, 3225, 2770, 2319, 1870, 1424, 980,
    539, 101, 3762, 3329, 2898, 2471, 2045, 1622, 1202, 784, 368, 4050, 3639, 3231, 2824, 2420, 2018, 1618, 1220, 825,
    432, 40, 3747, 3360, 2975, 2592, 2211, 1832, 1455, 1079, 706, 335, 4061, 3693, 3328, 2964, 2601, 2241, 1882, 1526,
    1170, 817, 465, 115, 3863, 3516, 3171, 2827, 2486, 2145, 1807, 1469, 1134, 800, 467, 136, 3903, 3575, 3248, 2923,
    2599, 2277, 1956, 1636, 1318, 1002, 686, 372, 60, 3844, 3534, 3226, 2918, 2612, 2307, 2004, 1702, 1401, 1101, 802,
    505, 209, 4010, 3716, 3423, 3132, 2841, 2552, 2264, 1977, 1692, 1407, 1123, 841, 560, 279, 0,
];

/// `4096 (1 - cos(2π (i + 1/2) / 480)) / 2`, rounded: the first half of a Hann window.
#[rustfmt::skip]
const HALF_WINDOW: [i16; 240] = [
    0, 0, 1, 2, 4, 5, 7, 10, 13, 16, 19, 23, 27, 32, 37, 42, 48, 53, 60, 66, 73, 81, 88, 96, 104, 113, 122, 131, 141,
    151, 161, 172, 183, 194, 205, 217, 229, 242, 255, 268, 281, 295, 309, 323, 338, 353, 368, 383, 399, 415, 431, 448,
    465, 482, 499, 517, 535, 553, 572, 590, 609, 629, 648, 668, 688, 708, 728, 749, 770, 791, 812, 833, 855, 877, 899,
    921, 944, 967, 989, 1012, 1036, 1059, 1083, 1106, 1130, 1154, 1178, 1203, 1227, 1252, 1277, 1302, 1327, 1352, 1377,
    1402, 1428, 1453, 1479, 1505, 1531, 1557, 1583, 1609, 1635, 1662, 1688, 1714, 1741, 1767, 1794, 1821, 1847, 1874,
    1901, 1927, 1954, 1981, 2008, 2035, 2061, 2088, 2115, 2142, 2169, 2195, 2222, 2249, 2275, 2302, 2329, 2355, 2382,
    2408, 2434, 2461, 2487, 2513, 2539, 2565, 2591, 2617, 2643, 2668, 2694, 2719, 2744, 2769, 2794, 2819, 2844, 2869,
    2893, 2918, 2942, 2966, 2990, 3013, 3037, 3060, 3084, 3107, 3129, 3152, 3175, 3197, 3219, 3241, 3263, 3284, 3305,
    3326, 3347, 3368, 3388, 3408, 3428, 3448, 3467, 3487, 3506, 3524, 3543, 3561, 3579, 3597, 3614, 3631, 3648, 3665,
    3681, 3697, 3713, 3728, 3743, 3758, 3773, 3787, 3801, 3815, 3828, 3841, 3854, 3867, 3879, 3891, 3902, 3913, 3924,
    3935, 3945, 3955, 3965, 3974, 3983, 3992, 4000, 4008, 4015, 4023, 4030, 4036, 4043, 4048, 4054, 4059, 4064, 4069,
    4073, 4077, 4080, 4083, 4086, 4089, 4091, 4092, 4094, 4095, 4096, 4096,
];

/// The window, for samples in pairs.
pub(super) const WINDOW_SHAPE: [[i16; 2]; WINDOW / 2] = {
    let mut shape = [[0; 2]; WINDOW / 2];
    let mut i = 0;
    while i < WINDOW {
        let mirrored = if i < WINDOW / 2 { i } else { WINDOW - 1 - i };
        shape[i / 2][i % 2] = HALF_WINDOW[mirrored];
        i += 1;
    }
    // Single precision makes this 53.5008 the reference's 54, but not its mirror image.
    shape[8][1] = 54;
    shape
};

/// `32767 sin(π i / 256)`, rounded: a quarter of a turn.
#[rustfmt::skip]
const QUARTER_SINE: [i16; 129] = [
    0, 402, 804, 1206, 1608, 2009, 2410, 2811, 3212, 3612, 4011, 4410, 4808, 5205, 5602, 5998, 6393, 6786, 7179, 7571,
    7962, 8351, 8739, 9126, 9512, 9896, 10278, 10659, 11039, 11417, 11793, 12167, 12539, 12910, 13279, 13645, 14010,
    14372, 14732, 15090, 15446, 15800, 16151, 16499, 16846, 17189, 17530, 17869, 18204, 18537, 18868, 19195, 19519,
    19841, 20159, 20475, 20787, 21096, 21403, 21705, 22005, 22301, 22594, 22884, 23170, 23452, 23731, 24007, 24279,
    24547, 24811, 25072, 25329, 25582, 25832, 26077, 26319, 26556, 26790, 27019, 27245, 27466, 27683, 27896, 28105,
    28310, 28510, 28706, 28898, 29085, 29268, 29447, 29621, 29791, 29956, 30117, 30273, 30424, 30571, 30714, 30852,
    30985, 31113, 31237, 31356, 31470, 31580, 31685, 31785, 31880, 31971, 32057, 32137, 32213, 32285, 32351, 32412,
    32469, 32521, 32567, 32609, 32646, 32678, 32705, 32728, 32745, 32757, 32765, 32767,
];

/// `32767 sin(π i / 256)`, rounded.
const fn sine(i: usize) -> i32 {
    let value = match i % 256 {
        low @ 0..128 => QUARTER_SINE[low],
        high => QUARTER_SINE[256 - high],
    };
    if i % 512 < 256 { value as i32 } else { -(value as i32) }
}

/// Factors of a stage of the transform that joins four transforms of `M` points: `32767 exp(-2πi j k / 4 M)` for `j` 1 to 3, point `k`.
const fn stage<const M: usize>() -> [[u32; 3]; M] {
    let mut factors = [[0; 3]; M];
    let mut i = 0;
    while i < 3 * M {
        let (k, j) = (i / 3, i % 3 + 1);
        let angle = j * k * (128 / M);
        factors[k][j - 1] = pack(sine(128 + angle), -sine(angle));
        i += 1;
    }
    factors
}

pub(super) const STAGE_4: [[u32; 3]; 4] = stage();
pub(super) const STAGE_16: [[u32; 3]; 16] = stage();
pub(super) const STAGE_64: [[u32; 3]; 64] = stage();

/// `32767 exp(-πi (k / 256 + 1/2))`.
pub(super) const UNTANGLE: [u32; 129] = {
    let mut factors = [0; 129];
    let mut k = 0;
    while k < factors.len() {
        factors[k] = pack(-sine(k), -sine(128 + k));
        k += 1;
    }
    factors
};

/// Integer square roots of `256 x`.
pub(super) const ROOTS: [u8; 256] = {
    let mut roots = [0; 256];
    let mut x = 0;
    while x < 256 {
        roots[x] = (256 * x as u32).isqrt() as u8;
        x += 1;
    }
    roots
};

/// `2¹⁶ (log2(1 + i / 128) - i / 128)`, rounded.
#[rustfmt::skip]
pub(super) const LOG2_BEYOND_LINE: [u16; 129] = [
    0, 224, 442, 654, 861, 1063, 1259, 1450, 1636, 1817, 1992, 2163, 2329, 2490, 2646, 2797, 2944, 3087, 3224, 3358,
    3487, 3611, 3732, 3848, 3960, 4068, 4172, 4272, 4368, 4460, 4549, 4633, 4714, 4791, 4864, 4934, 5001, 5063, 5123,
    5178, 5231, 5280, 5326, 5368, 5408, 5444, 5477, 5507, 5533, 5557, 5578, 5595, 5610, 5622, 5631, 5637, 5640, 5641,
    5638, 5633, 5626, 5615, 5602, 5586, 5568, 5547, 5524, 5498, 5470, 5439, 5406, 5370, 5332, 5291, 5249, 5203, 5156,
    5106, 5054, 5000, 4944, 4885, 4825, 4762, 4697, 4630, 4561, 4490, 4416, 4341, 4264, 4184, 4103, 4020, 3935, 3848,
    3759, 3668, 3575, 3481, 3384, 3286, 3186, 3084, 2981, 2875, 2768, 2659, 2549, 2437, 2323, 2207, 2090, 1971, 1851,
    1729, 1605, 1480, 1353, 1224, 1094, 963, 830, 695, 559, 421, 282, 142, 0,
];

/// For each length of a number in bits: the gain where it begins, and a parabola's coefficients to where it ends, which also goes through
/// the middle. The gain of `x` is `2²¹ (x / 2⁷ + 80)^-0.95`, rounded.
#[rustfmt::skip]
pub(super) const GAIN: [[i16; 3]; 33] = [
    [32636, 0, 0], [32633, 0, 0],
    [32630, -6, 0], [32624, -12, 0], [32612, -23, -2], [32587, -48, 0], [32539, -96, 0], [32443, -190, 0],
    [32253, -378, 4], [31879, -739, 18], [31158, -1409, 62], [29811, -2567, 202], [27446, -4301, 562],
    [23707, -6265, 1230], [18672, -7458, 1952], [13166, -7030, 2212], [8348, -5342, 1868], [4874, -3459, 1282],
    [2697, -2025, 774], [1446, -1120, 436], [762, -596, 232], [398, -313, 122], [207, -164, 64], [107, -85, 34],
    [56, -45, 18], [29, -22, 8], [15, -13, 6], [8, -8, 4], [4, -2, 0], [2, -3, 2], [1, 0, 0], [1, -3, 2], [0, 0, 0],
];

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::f64::consts::PI;

    #[test]
    fn sines() {
        for i in 0..512 {
            assert_eq!(f64::from(sine(i)), (32767.0 * (PI * i as f64 / 256.0).sin()).round(), "{i}");
        }
    }

    #[test]
    fn window() {
        for (i, weight) in WINDOW_SHAPE.as_flattened().iter().enumerate() {
            let exact = 4096.0 * (0.5 - 0.5 * (2.0 * PI * (i as f64 + 0.5) / 480.0).cos());
            assert!((f64::from(*weight) - exact).abs() < if i == 17 { 0.501 } else { 0.5 }, "{i} {weight} {exact}");
        }
    }

    #[test]
    fn mel_filters() {
        let mel = |hertz: f64| (1.0 + hertz / 700.0).ln();
        let bound = |i: usize| mel(125.0) + (mel(7500.0) - mel(125.0)) / 41.0 * i as f64;
        let mut bin = FIRST_BIN;
        for (i, width) in WIDTHS.into_iter().enumerate() {
            for _ in 0..width {
                let here = mel(31.25 * bin as f64);
                // The first bound is a little above the first bin.
                assert!(here <= bound(i + 1) && here > bound(i) - 1e-9, "{bin}");
                let exact = 4096.0 * (bound(i + 1) - here) / (bound(i + 1) - bound(i));
                let weight = WEIGHTS[bin - FIRST_BIN];
                let tolerance = if [149, 221].contains(&bin) { 0.52 } else { 0.5 };
                assert!((f64::from(weight) - exact).abs() <= tolerance, "{bin} {weight} {exact}");
                bin += 1;
            }
        }
        assert_eq!(bin - FIRST_BIN, WEIGHTS.len());
        assert!(mel(31.25 * bin as f64) > bound(41));
    }

    #[test]
    fn logarithms() {
        for (i, value) in LOG2_BEYOND_LINE.into_iter().enumerate() {
            let x = i as f64 / 128.0;
            assert_eq!(f64::from(value), (65536.0 * ((1.0 + x).log2() - x)).round(), "{i}");
        }
    }

    #[test]
    fn gains() {
        let gain = |x: u64| ((1 << 21) as f64 * (x as f64 / 128.0 + 80.0).powf(-0.95)).round() as i16;
        for (bits, row) in GAIN.into_iter().enumerate() {
            let expected = match bits {
                0 | 1 => [gain(bits as u64), 0, 0],
                _ => {
                    let (start, end) = (1_u64 << (bits - 1), (1_u64 << bits).min(u64::from(u32::MAX)));
                    let [start, middle, end] = [start, start + start / 2, end].map(gain);
                    let slope = 4 * (middle - start) - (end - start);
                    [start, slope, end - start - slope]
                }
            };
            assert_eq!(row, expected, "{bits}");
        }
    }
}
