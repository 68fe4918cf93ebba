"""The `hwhup` command. Only this package prints; everything heavy is imported by the verb that needs it."""
