/// Declares structs of a config: typed view, defaults and JSON Schema in one.
///
/// The parentheses behind a name hold the attributes of the schema. A member has its default behind
/// `=`; without one, the default of its type. A file may lack a member whose type is followed by
/// `as`; the text behind `as` is its type in the schema, where it cannot be `null`.
macro_rules! config_structs {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident($($schema:tt)*) {
            $(
                $(#[$member_meta:meta])*
                pub $member:ident: $type:ty $(as $present:tt)? $(= $default:expr)?
            ),* $(,)?
        }
    )*) => {$(
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(
            feature = "schema",
            derive(schemars::JsonSchema),
            schemars($($schema)*, transform = crate::schema_transforms::without_required_defaults)
        )]
        $(#[$meta])*
        #[serde(default)]
        #[non_exhaustive]
        pub struct $name {
            $(
                $(#[$member_meta])*
                $(
                    #[serde(skip_serializing_if = "Option::is_none")]
                    #[cfg_attr(feature = "schema", schemars(with = $present))]
                )?
                pub $member: $type
            ),*
        }

        impl $name {
            #[allow(dead_code, reason = "two structs are asked for them")]
            pub(crate) const MEMBERS: &[&str] = &[$(stringify!($member)),*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($member: config_structs!(@default $($default)?)),* }
            }
        }
    )*};
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

pub(crate) use config_structs;
