"""Work on more than fits one run or one machine, shard by shard, here or in an object store."""
