"""What the tests of the command share: `layer up` over services that start in a blink."""
