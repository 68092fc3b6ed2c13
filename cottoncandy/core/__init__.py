"""Parts that every folder uses: buffers, names, patterns, threads, atomic files, output."""
