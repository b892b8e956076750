@echo off
rem Subtitles for a recording: makes .venv beside this file, then opens the page.
setlocal
cd /d "%~dp0"
where py >nul 2>nul && (set "PYTHON=py -3") || (set "PYTHON=python")
if not exist .venv\Scripts\python.exe (
  %PYTHON% -m venv .venv || goto :failed
)
.venv\Scripts\python -m pip install -q -r requirements.txt || goto :failed
start "" http://127.0.0.1:8010/
.venv\Scripts\python app.py %*
goto :eof
:failed
echo Python 3.10 or later is needed: https://www.python.org/downloads/
pause
exit /b 1
