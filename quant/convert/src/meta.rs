//! Metadata values that a plan owns.

use smidgen_gguf::{NewValue, Value};

macro_rules! values {
    ($($kind:ident($type:ty);)*) => {
        /// A metadata value. Made with `into()`.
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "GGUF's types, and arrays of them")]
        pub enum Meta<'a> {
            $($kind($type),)*
            /// A value of another file.
            Copy(Value<'a>),
        }

        $(impl From<$type> for Meta<'_> {
            fn from(value: $type) -> Self {
                Meta::$kind(value)
            }
        })*
    };
}

values! {
    U32(u32);
    F32(f32);
    Bool(bool);
    Str(String);
    I32s(Vec<i32>);
    U8s(Vec<u8>);
    U32s(Vec<u32>);
    F32s(Vec<f32>);
    F64s(Vec<f64>);
    Bools(Vec<bool>);
    Strs(Vec<String>);
}

impl From<&str> for Meta<'_> {
    fn from(value: &str) -> Self {
        Meta::Str(value.into())
    }
}

impl Meta<'_> {
    /// The number, if the value is one.
    pub(crate) fn as_u32(&self) -> Option<u32> {
        match self {
            Meta::U32(value) => Some(*value),
            Meta::Copy(value) => value.as_u64().and_then(|value| u32::try_from(value).ok()),
            _ => None,
        }
    }

    /// The text, if the value is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Meta::Str(value) => Some(value),
            Meta::Copy(value) => value.as_str(),
            _ => None,
        }
    }

    /// Calls `put` with the value in the form in which it is written.
    pub(crate) fn write<T>(&self, put: impl FnOnce(NewValue<'_>) -> T) -> T {
        match self {
            Meta::U32(value) => put((*value).into()),
            Meta::F32(value) => put((*value).into()),
            Meta::Bool(value) => put((*value).into()),
            Meta::Str(value) => put(value.as_str().into()),
            Meta::Copy(value) => put((*value).into()),
            Meta::I32s(values) => put(values.as_slice().into()),
            Meta::U8s(values) => put(values.as_slice().into()),
            Meta::U32s(values) => put(values.as_slice().into()),
            Meta::F32s(values) => put(values.as_slice().into()),
            Meta::F64s(values) => put(values.as_slice().into()),
            Meta::Bools(values) => put(values.as_slice().into()),
            Meta::Strs(values) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                put(values.as_slice().into())
            }
        }
    }
}
