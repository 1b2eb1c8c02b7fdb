"""What is known about text: characters, words, segments, languages, and hashes of all of them."""
