"""A merged model as one GGUF file, the format of llama.cpp and Ollama, with a Modelfile for the run's prompt."""
