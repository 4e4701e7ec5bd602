//! One question and its answer, on a stream of its own.

use countersign_protocol::{
    AnswerError, DecodeError, EncodeError, Encoded, Frame, Header, Refused, codec, frame::FrameKind,
};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use tokio::time::{Duration, timeout};

use crate::{
    limits::Limits,
    session::{CloseCode, Place, Session, SessionEnd},
};

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The session ended.
    #[error(transparent)]
    Ended(#[from] SessionEnd),
    /// The other side gave this exchange up.
    #[error("the other side gave the exchange up")]
    Abandoned,
    /// It took too long.
    #[error("timed out")]
    TimedOut,
    /// A frame came that is not one, or not known here. Unless it is only not known, the peer was
    /// dropped for it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The frame to send is larger than the link allows.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no connection at the moment.
    #[error("the link to the control plane is down")]
    Down,
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The other side refused.
    #[error("refused: {0}")]
    Refused(Refused),
    /// The other side answered something else.
    #[error("unexpected answer: {}", .0.as_str())]
    Unexpected(FrameKind),
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        Self::Exchange(error.into())
    }
}

impl From<AnswerError> for RequestError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Refused(refused) => Self::Refused(refused),
            AnswerError::Unexpected(kind) => Self::Unexpected(kind),
        }
    }
}

/// One question and its answer.
#[derive(Debug)]
pub struct Exchange {
    session: Session,
    send: SendStream,
    receive: RecvStream,
    _place: Option<Place>,
}

impl Exchange {
    pub(crate) fn new(session: Session, send: SendStream, receive: RecvStream, place: Option<Place>) -> Self {
        Self { session, send, receive, _place: place }
    }

    /// The session that it is part of.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Receives what the peer asks. A peer that takes too long, or sends what is no frame, is dropped;
    /// one that sends a frame of a later release is told so, and may go on.
    ///
    /// # Errors
    /// When no frame came.
    pub async fn receive(&mut self) -> Result<Frame, ExchangeError> {
        let first = self.session.limits().frame;
        match self.read_frame(first).await {
            Err(ExchangeError::TimedOut) => {
                self.session.drop_peer(CloseCode::Slow, "a frame took too long");
                Err(ExchangeError::TimedOut)
            }
            Err(ExchangeError::Decode(error)) => Err(self.wrong(error).await),
            other => other,
        }
    }

    /// Receives the answer to what was asked here.
    ///
    /// # Errors
    /// When none came in time, or it is no frame.
    pub(crate) async fn receive_answer(&mut self) -> Result<Frame, ExchangeError> {
        let first = self.session.limits().answer;
        match self.read_frame(first).await {
            Err(ExchangeError::Decode(error)) => Err(self.wrong(error).await),
            other => other,
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When it is too large, the peer does not take it in time, or the session ended.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), ExchangeError> {
        self.send_encoded(&codec::encode(frame)?).await
    }

    /// Sends a frame that was encoded before.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_encoded(&mut self, encoded: &Encoded) -> Result<(), ExchangeError> {
        let bytes = encoded.as_bytes();
        let written = timeout(self.session.limits().for_frame(bytes.len()), self.send.write_all(bytes)).await;
        let failed = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(WriteError::ConnectionLost(error))) => ExchangeError::Ended(self.session.end(error)),
            Ok(Err(_)) => ExchangeError::Abandoned,
            Err(_) => ExchangeError::TimedOut,
        };
        // Half a frame must not look like the end of one.
        let _ = self.send.reset(CloseCode::Slow.to_wire());
        Err(failed)
    }

    /// Sends the answer, which is the last frame of an exchange.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn answer(mut self, frame: impl Into<Frame>) -> Result<(), ExchangeError> {
        self.send(&frame.into()).await?;
        self.finish();
        Ok(())
    }

    /// Waits until the peer no longer wants the answer, or the session ends.
    pub async fn abandoned(&mut self) {
        // Whatever it says, nobody waits any more.
        let _ = self.send.stopped().await;
    }

    pub(crate) fn finish(&mut self) {
        // It can only have been finished before.
        let _ = self.send.finish();
    }

    /// What to do about bytes that are no frame.
    async fn wrong(&mut self, error: DecodeError) -> ExchangeError {
        match error.refusal() {
            Some(refused) => {
                // Whether the refusal arrives or not, this exchange is over.
                let _ = self.send(&refused.into()).await;
                self.finish();
            }
            None => self.session.drop_peer(CloseCode::Protocol, &error.to_string()),
        }
        error.into()
    }

    async fn read_frame(&mut self, first: Duration) -> Result<Frame, ExchangeError> {
        let header = timeout(first, self.read_header()).await.map_err(|_| ExchangeError::TimedOut)??;
        let for_body = self.session.limits().for_frame(header.body_length());
        timeout(for_body, self.read_body(header)).await.map_err(|_| ExchangeError::TimedOut)?
    }

    async fn read_header(&mut self) -> Result<Header, ExchangeError> {
        let mut bytes = [0; Header::LENGTH];
        match self.receive.read_exact(&mut bytes).await {
            Ok(()) => Ok(Header::read(bytes, self.session.lane())?),
            Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => {
                Err(self.session.end(error).into())
            }
            Err(_) => Err(ExchangeError::Abandoned),
        }
    }

    /// Reads a body as it comes: memory is used for what was sent, not for what was announced.
    async fn read_body(&mut self, header: Header) -> Result<Frame, ExchangeError> {
        let length = header.body_length();
        let large = (length > Limits::LARGE_FRAME).then(|| self.session.large_frames().acquire());
        // Held until the frame is decoded. The semaphore is never closed.
        let _place = match large {
            Some(place) => place.await.ok(),
            None => None,
        };
        let mut body = Vec::new();
        while body.len() < length {
            match self.receive.read_chunk(length - body.len(), true).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(ExchangeError::Abandoned),
                Err(ReadError::ConnectionLost(error)) => return Err(self.session.end(error).into()),
                Err(_) => return Err(ExchangeError::Abandoned),
            }
        }
        Ok(codec::decode(header, &body)?)
    }
}
