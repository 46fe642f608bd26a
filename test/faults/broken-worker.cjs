// A worker that ends as soon as it begins, loaded with --require: the primary process must give up and say so.
if (require('node:cluster').isWorker) process.exit(3)
