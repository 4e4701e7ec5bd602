//! Texts, byte strings and lists that know how long they can be.
//!
//! The length is checked against the bound *and* against what is left of the input before anything is
//! reserved, so a peer cannot make the decoder reserve memory that it did not itself send.

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder, read::Reader},
    enc::{Encoder, write::Writer},
    error::{DecodeError, EncodeError},
};

/// A part of a frame that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    field: &'static str,
    problem: String,
}

impl FieldError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl From<std::convert::Infallible> for FieldError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// A text of at most `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<const MAX: usize>(String);

/// A byte string of at most `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob<const MAX: usize>(Vec<u8>);

/// A list of at most `MAX` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T, const MAX: usize>(Vec<T>);

impl<const MAX: usize> Text<MAX> {
    pub(crate) fn new(field: &'static str, text: &str) -> Result<Self, FieldError> {
        check_length::<MAX>(field, text.len())?;
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// Reads the text as something that has a text form.
    pub(crate) fn parse<T: std::str::FromStr<Err: ToString>>(
        &self,
        field: &'static str,
    ) -> Result<T, FieldError> {
        self.0.parse().map_err(|error: T::Err| FieldError::new(field, error.to_string()))
    }
}

impl<const MAX: usize> Blob<MAX> {
    pub(crate) fn new(field: &'static str, bytes: &[u8]) -> Result<Self, FieldError> {
        check_length::<MAX>(field, bytes.len())?;
        Ok(Self(bytes.to_vec()))
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// A list made from the items of another one.
    pub(crate) fn collect<I, F>(field: &'static str, items: I, make: F) -> Result<Self, FieldError>
    where
        I: IntoIterator<IntoIter: ExactSizeIterator>,
        F: FnMut(I::Item) -> Result<T, FieldError>,
    {
        let items = items.into_iter();
        check_length::<MAX>(field, items.len())?;
        Ok(Self(items.map(make).collect::<Result<_, _>>()?))
    }

    /// The items, each made into something else.
    pub(crate) fn map<U, C: FromIterator<U>>(
        self,
        make: impl FnMut(T) -> Result<U, FieldError>,
    ) -> Result<C, FieldError> {
        self.0.into_iter().map(make).collect()
    }
}

fn check_length<const MAX: usize>(field: &'static str, length: usize) -> Result<(), FieldError> {
    if length <= MAX { Ok(()) } else { Err(FieldError::new(field, format!("{length} is more than {MAX}"))) }
}

fn encode_length<E: Encoder>(length: usize, encoder: &mut E) -> Result<(), EncodeError> {
    (length as u64).encode(encoder)
}

/// Reads a length and checks that it is allowed and that the input can hold it.
fn decode_length<const MAX: usize, D: Decoder>(decoder: &mut D) -> Result<usize, DecodeError> {
    let length = u64::decode(decoder)?;
    let length = usize::try_from(length).map_err(|_| DecodeError::Other("a length is too large"))?;
    if length > MAX {
        return Err(DecodeError::Other("a length is above its limit"));
    }
    // Every item takes at least one byte, and the reader is a slice: it can say how much is left.
    if decoder.reader().peek_read(length).is_none() {
        return Err(DecodeError::Other("a length is above what was sent"));
    }
    Ok(length)
}

impl<const MAX: usize> Encode for Blob<MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_length(self.0.len(), encoder)?;
        encoder.writer().write(&self.0)
    }
}

impl<const MAX: usize> Encode for Text<MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_length(self.0.len(), encoder)?;
        encoder.writer().write(self.0.as_bytes())
    }
}

impl<T: Encode, const MAX: usize> Encode for List<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_length(self.0.len(), encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<Context, const MAX: usize> Decode<Context> for Blob<MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = decode_length::<MAX, D>(decoder)?;
        decoder.claim_bytes_read(length)?;
        let mut bytes = vec![0; length];
        decoder.reader().read(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl<Context, const MAX: usize> Decode<Context> for Text<MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let Blob::<MAX>(bytes) = Blob::decode(decoder)?;
        String::from_utf8(bytes).map(Self).map_err(|_| DecodeError::Other("a text is not UTF-8"))
    }
}

impl<Context, T: Decode<Context>, const MAX: usize> Decode<Context> for List<T, MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = decode_length::<MAX, D>(decoder)?;
        // Grows as items come: an item can be much larger in memory than on the wire.
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(T::decode(decoder)?);
        }
        Ok(Self(items))
    }
}

impl<'de, Context, const MAX: usize> BorrowDecode<'de, Context> for Blob<MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl<'de, Context, const MAX: usize> BorrowDecode<'de, Context> for Text<MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl<'de, Context, T: Decode<Context>, const MAX: usize> BorrowDecode<'de, Context> for List<T, MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
