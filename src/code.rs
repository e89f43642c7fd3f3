//! Codes: the stable words of one namespace that answers, logs, status, `check` and `explain` share.

/// Declares codes and their words together, so that neither can be forgotten.
macro_rules! codes {
    ($(#[$doc_of_all:meta])* { $($(#[$doc:meta])* $name:ident = $word:literal;)* }) => {
        $(#[$doc_of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word: stable, snake_case.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }

        impl ::std::fmt::Display for Code {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub(crate) use codes;
