//! Puts large values on the heap without copying them there.

use std::pin::Pin;

/// Boxes the value that `make` returns.
///
/// `Box::new(make())` builds the value on the stack and then copies it, which costs more than the allocation if the
/// value is a future of several kilobytes. Here, the allocation comes first, so that the compiler can build the value
/// in it.
#[inline(always)]
pub(crate) fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}

/// Boxes the future that `make` returns, like [`boxed`].
#[inline(always)]
pub(crate) fn pinned<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(boxed(make))
}
