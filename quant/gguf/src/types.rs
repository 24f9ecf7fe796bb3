//! The tables of the format: metadata value types and tensor types.

use core::fmt;

macro_rules! value_kinds {
    ($($variant:ident = $id:literal, $name:literal, $size:literal;)*) => {
        /// Type of a metadata value or array element.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum ValueKind {
            $(#[doc = concat!("`", $name, "`, id ", $id, " in the file.")] $variant = $id,)*
        }

        impl ValueKind {
            /// Every kind, by id.
            pub const ALL: &[ValueKind] = &[$(ValueKind::$variant),*];

            /// The kind with this id in the file.
            pub fn from_id(id: u32) -> Option<ValueKind> {
                match id {
                    $($id => Some(ValueKind::$variant),)*
                    _ => None,
                }
            }

            /// A short name: `u8`, `f32`, `string`, `array` …
            pub fn name(self) -> &'static str {
                match self {
                    $(ValueKind::$variant => $name,)*
                }
            }

            /// Bytes of one value in the file; 0 for strings and arrays, whose length varies.
            pub fn size(self) -> usize {
                match self {
                    $(ValueKind::$variant => $size,)*
                }
            }
        }
    };
}

value_kinds! {
    U8 = 0, "u8", 1;
    I8 = 1, "i8", 1;
    U16 = 2, "u16", 2;
    I16 = 3, "i16", 2;
    U32 = 4, "u32", 4;
    I32 = 5, "i32", 4;
    F32 = 6, "f32", 4;
    Bool = 7, "bool", 1;
    Str = 8, "string", 0;
    Array = 9, "array", 0;
    U64 = 10, "u64", 8;
    I64 = 11, "i64", 8;
    F64 = 12, "f64", 8;
}

impl ValueKind {
    /// The id of this kind in the file.
    pub fn id(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! tensor_types {
    ($($variant:ident = $id:literal, $len:literal, $bytes:literal;)*) => {
        /// Type of a tensor's data, by ggml's table and, from id 1000 on, Smidgen's own. Data is rows of whole blocks of [`block_len`](Self::block_len)
        /// elements in [`block_bytes`](Self::block_bytes) bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(non_camel_case_types, reason = "the names by which the whole field knows these formats")]
        #[repr(u32)]
        pub enum TensorType {
            $(#[doc = concat!("Id ", $id, ": ", $len, " elements in ", $bytes, " bytes.")] $variant = $id,)*
        }

        impl TensorType {
            /// Every type, by id.
            pub const ALL: &[TensorType] = &[$(TensorType::$variant),*];

            /// The type with this id in the file; `None` for ids that ggml never had or has removed.
            pub fn from_id(id: u32) -> Option<TensorType> {
                match id {
                    $($id => Some(TensorType::$variant),)*
                    _ => None,
                }
            }

            /// The usual name: `F32`, `Q4_0`, `Q4_K` …
            pub fn name(self) -> &'static str {
                match self {
                    $(TensorType::$variant => stringify!($variant),)*
                }
            }

            /// Elements in a block; 1 for plain numbers.
            pub fn block_len(self) -> u64 {
                match self {
                    $(TensorType::$variant => $len,)*
                }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> u64 {
                match self {
                    $(TensorType::$variant => $bytes,)*
                }
            }
        }
    };
}

tensor_types! {
    F32 = 0, 1, 4;
    F16 = 1, 1, 2;
    Q4_0 = 2, 32, 18;
    Q4_1 = 3, 32, 20;
    Q5_0 = 6, 32, 22;
    Q5_1 = 7, 32, 24;
    Q8_0 = 8, 32, 34;
    Q8_1 = 9, 32, 36;
    Q2_K = 10, 256, 84;
    Q3_K = 11, 256, 110;
    Q4_K = 12, 256, 144;
    Q5_K = 13, 256, 176;
    Q6_K = 14, 256, 210;
    Q8_K = 15, 256, 292;
    IQ2_XXS = 16, 256, 66;
    IQ2_XS = 17, 256, 74;
    IQ3_XXS = 18, 256, 98;
    IQ1_S = 19, 256, 50;
    IQ4_NL = 20, 32, 18;
    IQ3_S = 21, 256, 110;
    IQ2_S = 22, 256, 82;
    IQ4_XS = 23, 256, 136;
    I8 = 24, 1, 1;
    I16 = 25, 1, 2;
    I32 = 26, 1, 4;
    I64 = 27, 1, 8;
    F64 = 28, 1, 8;
    IQ1_M = 29, 256, 56;
    BF16 = 30, 1, 2;
    TQ1_0 = 34, 256, 54;
    TQ2_0 = 35, 256, 66;
    MXFP4 = 39, 32, 17;
    NVFP4 = 40, 64, 36;
    Q1_0 = 41, 128, 18;
    Q2_0 = 42, 64, 18;
    Q4_0_P16 = 1002, 32, 18;
    Q4_1_P16 = 1003, 32, 20;
    Q5_0_P16 = 1006, 32, 22;
    Q5_1_P16 = 1007, 32, 24;
    Q8_0_P16 = 1008, 32, 34;
    Q2_K_P16 = 1010, 256, 84;
    Q3_K_P16 = 1011, 256, 110;
    Q4_K_P16 = 1012, 256, 144;
    Q5_K_P16 = 1013, 256, 176;
    Q6_K_P16 = 1014, 256, 210;
    IQ4_NL_P16 = 1020, 32, 18;
}

/// The number that Smidgen adds to the id of a type for the same blocks in panels of 16 rows. ggml has no such ids, so other readers refuse the
/// file rather than misread it.
const PACKED: u32 = 1000;

impl TensorType {
    /// The id of this type in the file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The type of the same blocks in panels of 16 rows, Smidgen's own (see `docs/gguf.md`); `None` for what is not packed.
    pub fn packed(self) -> Option<TensorType> {
        TensorType::from_id(self.id() + PACKED)
    }

    /// The type whose blocks this one holds in panels; `None` for ggml's own types.
    pub fn unpacked(self) -> Option<TensorType> {
        self.id().checked_sub(PACKED).and_then(TensorType::from_id)
    }

    /// Bytes of `elements` elements; `None` if they are not whole blocks or the size does not fit in 64 bits.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        if elements & (self.block_len() - 1) != 0 {
            return None;
        }
        (elements >> self.block_len().trailing_zeros()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
