# The service in a container: docker build -t darkcovid . && docker run -p 127.0.0.1:8501:8501 -v ./runs/RUN:/run-folder:ro darkcovid
# The default torch brings CUDA and runs on a CPU as well; with --gpus all it uses the GPU.
FROM python:3.12-slim

RUN useradd --create-home --uid 10001 darkcovid
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY darkcovid ./darkcovid
RUN pip install --no-cache-dir --constraint constraints.txt ".[serve,dicom]"

USER 10001
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["darkcovid"]
CMD ["serve", "/run-folder", "--host", "0.0.0.0", "--port", "8501"]
