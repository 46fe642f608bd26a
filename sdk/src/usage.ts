/** The caller's mistake, or a file or server that is not to be had: exit code 2 with this message. */
export class UsageError extends Error {}
