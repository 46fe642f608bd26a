import v8 from 'node:v8'

// Imported before everything else, because imports run before statements. Patterns never come from users as regular
// expressions; should one of ours, or of a library, ever backtrack badly, it turns linear.
v8.setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks')
