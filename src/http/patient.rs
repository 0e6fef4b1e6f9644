//! A connection whose other end has to take what it is sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Who takes less than this in the time that it has takes nothing, bytes.
const LEAST: usize = 4096;

/// Writing fails where the other end takes nothing, or next to nothing, for a while. How long it may be silent is not decided
/// here: that depends on what is expected of it.
pub(super) struct Patient<S> {
    stream: S,
    limit: Duration,
    /// Set while something waits to be taken.
    stalled: Option<Stalled>,
}

struct Stalled {
    until: Pin<Box<Sleep>>,
    /// What was taken since.
    taken: usize,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, stalled: None }
    }

    /// It waits to be taken: for how long?
    fn waits(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Stalled { until: Box::pin(sleep(limit)), taken: 0 });
        ready!(stalled.until.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not take the answer"))
    }

    fn took(&mut self, n: usize) {
        if let Some(stalled) = &mut self.stalled {
            stalled.taken += n;
            if stalled.taken >= LEAST {
                stalled.taken = 0;
                stalled.until.as_mut().reset(Instant::now() + self.limit);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(done) => {
                done.iter().for_each(|n| self.took(*n));
                Poll::Ready(done)
            }
            Poll::Pending => self.waits(cx).map(Err),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) {
            Poll::Ready(done) => {
                done.iter().for_each(|n| self.took(*n));
                Poll::Ready(done)
            }
            Poll::Pending => self.waits(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(done) => {
                // All of it was taken.
                self.stalled = None;
                Poll::Ready(done)
            }
            Poll::Pending => self.waits(cx).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.waits(cx).map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut() {
        let (near, _far) = tokio::io::duplex(1000);
        let mut near = Patient::new(near, LIMIT);
        let start = Instant::now();
        let err = near.write_all(&[0; 5000]).await.unwrap_err();
        assert_eq!((err.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_is_cut_too() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = Patient::new(near, LIMIT);
        let sip = tokio::spawn(async move {
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let err = near.write_all(&[0; 5000]).await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        drop(near);
        sip.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_merely_slow_gets_all_of_it() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = Patient::new(near, LIMIT);
        let slow = tokio::spawn(async move {
            let (mut all, mut some) = (0, [0; 1000]);
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match far.read(&mut some).await.unwrap() {
                    0 => return all,
                    n => all += n,
                }
            }
        });
        near.write_all(&[0; 50_000]).await.unwrap();
        near.flush().await.unwrap();
        drop(near);
        assert_eq!(slow.await.unwrap(), 50_000);
    }
}
